-- Begin a run of a job whose stream entry this worker was given. Drops the entry of a job that is over or gone.
-- KEYS: job, queue, stats; ARGV: group, entry, worker
local state = redis.call('HGET', KEYS[1], 'state')
if not state or state == 'finished' or state == 'failed' then
  redis.call('XACK', KEYS[2], ARGV[1], ARGV[2])
  redis.call('XDEL', KEYS[2], ARGV[2])
  return false
end
local time = redis.call('TIME')
local now = time[1] .. '.' .. string.format('%06d', time[2])
local attempt = redis.call('HINCRBY', KEYS[1], 'attempts', 1)
redis.call('HSET', KEYS[1], 'state', 'running', 'started_at', now, 'worker', ARGV[3])
local sequence = tonumber(redis.call('HGET', KEYS[1], 'sequence') or 0)
if sequence > tonumber(redis.call('HGET', KEYS[3], 'started') or 0) then
  redis.call('HSET', KEYS[3], 'started', sequence)
end
local job = redis.call('HMGET', KEYS[1], 'request', 'authorization', 'queued_at')
return {attempt, now, job[1], job[2], job[3]}
