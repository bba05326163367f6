-- End a job and its companions with their reports: states, reports, credentials and the place in the queue, in one
-- step, and only by the worker that holds the lease. Repeating it changes nothing.
-- KEYS: queue, stats, joined, companions, then for each job: job, reports; the job that was leased stands first
-- ARGV: group, entry, worker, milliseconds to keep all, seconds that the run took, channel, prefix of jobs,
--       then for each job: id, number of reports, and for each report: kind, bytes
local mark = ARGV[3] .. ' ' .. ARGV[2]
if not holds(KEYS[1], ARGV[1], ARGV[2], ARGV[3]) then
  return redis.call('HGET', KEYS[5], 'ended_by') == mark and 1 or 0
end
close(KEYS[5], ARGV[8])
local index = 8
for key = 5, #KEYS, 2 do
  local id = ARGV[index]
  local last = index + 1 + 2 * ARGV[index + 1]
  -- A companion that was sent away meanwhile ends by its own run.
  if key == 5 or redis.call('LREM', KEYS[4], 0, id) > 0 then
    redis.call('HSET', KEYS[key], 'state', 'finished', 'error', '', 'ended_by', mark, 'ended_at', now())
    redis.call('HDEL', KEYS[key], 'authorization')
    redis.call('PEXPIRE', KEYS[key], ARGV[4])
    for report = index + 2, last, 2 do
      redis.call('HSET', KEYS[key + 1], ARGV[report], ARGV[report + 1])
    end
    redis.call('PEXPIRE', KEYS[key + 1], ARGV[4])
    redis.call('SREM', KEYS[3], id)
    redis.call('PUBLISH', ARGV[6], 'ended ' .. id)
  end
  index = last + 1
end
part(KEYS[1], KEYS[4], KEYS[3], ARGV[7])
leave(KEYS[1], ARGV[1], ARGV[2])
local seconds = tonumber(ARGV[5])
local average = tonumber(redis.call('HGET', KEYS[2], 'scan_seconds') or seconds)
redis.call('HSET', KEYS[2], 'scan_seconds', string.format('%.3f', average * 0.8 + seconds * 0.2))
return 1
