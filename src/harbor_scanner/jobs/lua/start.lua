-- Begin a run of a job whose stream entry this worker was given, and still has. Drops the entry of a job that is over or
-- gone. Repeating it for the same run changes nothing.
-- KEYS: job, queue, stats, companions, joined; ARGV: group, entry, worker, id of the run, prefix of jobs
local job = redis.call('HMGET', KEYS[1], 'state', 'request')
if not job[2] or job[1] == 'finished' or job[1] == 'failed' then
  part(KEYS[2], KEYS[4], KEYS[5], ARGV[5])
  leave(KEYS[2], ARGV[1], ARGV[2])
  return false
end
if not holds(KEYS[2], ARGV[1], ARGV[2], ARGV[3]) then
  return false
end
if redis.call('HGET', KEYS[1], 'run') ~= ARGV[4] then
  redis.call('HINCRBY', KEYS[1], 'attempts', 1)
  redis.call('HSET', KEYS[1], 'state', 'running', 'run', ARGV[4], 'worker', ARGV[3], 'started_at', now())
  local sequence = tonumber(redis.call('HGET', KEYS[1], 'sequence') or 0)
  if sequence > tonumber(redis.call('HGET', KEYS[3], 'started') or 0) then
    redis.call('HSET', KEYS[3], 'started', sequence)
  end
end
return redis.call('HMGET', KEYS[1], 'attempts', 'started_at', 'queued_at', 'request', 'authorization')
