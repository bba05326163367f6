-- Put a job aside for another run after a delay, by the worker that holds the lease; its companions are run on their
-- own. Repeating it changes nothing.
-- KEYS: job, queue, delayed, joined, companions
-- ARGV: group, entry, worker, job id, delay in milliseconds, error of this run, prefix of jobs
if not holds(KEYS[2], ARGV[1], ARGV[2], ARGV[3]) then
  return redis.call('ZSCORE', KEYS[3], ARGV[4]) and 1 or 0
end
redis.call('HSET', KEYS[1], 'state', 'queued', 'last_error', ARGV[6])
redis.call('ZADD', KEYS[3], math.floor(now() * 1000) + ARGV[5], ARGV[4])
close(KEYS[1], ARGV[4])
part(KEYS[2], KEYS[5], KEYS[4], ARGV[7])
leave(KEYS[2], ARGV[1], ARGV[2])
return 1
