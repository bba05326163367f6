-- Put a job aside for another run after a delay, by the worker that holds the lease. Repeating it changes nothing.
-- KEYS: job, queue, delayed; ARGV: group, entry, worker, job id, delay in milliseconds, error of this run
local pending = redis.call('XPENDING', KEYS[2], ARGV[1], ARGV[2], ARGV[2], 1)
if not (pending[1] and pending[1][2] == ARGV[3]) then
  return redis.call('ZSCORE', KEYS[3], ARGV[4]) and 1 or 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], 'state', 'queued', 'last_error', ARGV[6])
redis.call('ZADD', KEYS[3], now + ARGV[5], ARGV[4])
redis.call('XACK', KEYS[2], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[2], ARGV[2])
return 1
