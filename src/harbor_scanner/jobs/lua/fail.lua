-- End a job with an error, in one step, and only by the worker that holds the lease; its companions are run on their
-- own. Repeating it changes nothing.
-- KEYS: job, queue, joined, companions
-- ARGV: group, entry, worker, job id, error, milliseconds to keep it, channel, prefix of jobs
local mark = ARGV[3] .. ' ' .. ARGV[2]
if not holds(KEYS[2], ARGV[1], ARGV[2], ARGV[3]) then
  return redis.call('HGET', KEYS[1], 'ended_by') == mark and 1 or 0
end
redis.call('HSET', KEYS[1], 'state', 'failed', 'error', ARGV[5], 'ended_by', mark, 'ended_at', now())
redis.call('HDEL', KEYS[1], 'authorization')
redis.call('PEXPIRE', KEYS[1], ARGV[6])
close(KEYS[1], ARGV[4])
part(KEYS[2], KEYS[4], KEYS[3], ARGV[8])
leave(KEYS[2], ARGV[1], ARGV[2])
redis.call('PUBLISH', ARGV[7], 'ended ' .. ARGV[4])
redis.call('PUBLISH', ARGV[7], 'queued')
return 1
