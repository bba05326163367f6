-- End a job: its state, its report, its credentials and its place in the queue, in one step, and only by the worker
-- that holds the lease. Repeating it changes nothing.
-- KEYS: job, report, queue, stats
-- ARGV: group, entry, worker, job id, state, error, report, milliseconds to keep both, seconds that the run took, channel
local pending = redis.call('XPENDING', KEYS[3], ARGV[1], ARGV[2], ARGV[2], 1)
if not (pending[1] and pending[1][2] == ARGV[3]) then
  if redis.call('HGET', KEYS[1], 'ended_by') == ARGV[3] .. ' ' .. ARGV[2] then
    return 1
  end
  return 0
end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'state', ARGV[5], 'error', ARGV[6], 'ended_by', ARGV[3] .. ' ' .. ARGV[2],
  'ended_at', time[1] .. '.' .. string.format('%06d', time[2]))
redis.call('HDEL', KEYS[1], 'authorization')
redis.call('PEXPIRE', KEYS[1], ARGV[8])
if ARGV[7] ~= '' then
  redis.call('SET', KEYS[2], ARGV[7], 'PX', ARGV[8])
end
redis.call('XACK', KEYS[3], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[3], ARGV[2])
local seconds = tonumber(ARGV[9])
if seconds > 0 then
  local average = tonumber(redis.call('HGET', KEYS[4], 'scan_seconds') or seconds)
  redis.call('HSET', KEYS[4], 'scan_seconds', string.format('%.3f', average * 0.8 + seconds * 0.2))
end
redis.call('PUBLISH', ARGV[10], 'ended ' .. ARGV[4])
return 1
