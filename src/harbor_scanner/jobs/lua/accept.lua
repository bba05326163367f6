-- Keep a job and put it in the queue, in one step. Repeating it changes nothing.
-- KEYS: job, queue, stats; ARGV: job id, request, sealed authorization, events channel
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
local time = redis.call('TIME')
local sequence = redis.call('HINCRBY', KEYS[3], 'accepted', 1)
redis.call('HSET', KEYS[1],
  'state', 'queued', 'request', ARGV[2], 'sequence', sequence, 'attempts', 0,
  'queued_at', time[1] .. '.' .. string.format('%06d', time[2]))
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[1], 'authorization', ARGV[3])
end
redis.call('XADD', KEYS[2], '*', 'job', ARGV[1])
redis.call('PUBLISH', ARGV[4], 'queued')
return 1
