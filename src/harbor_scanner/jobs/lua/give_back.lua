-- Return a job that was not run to its end through no fault of its own: it keeps its place and its companions, the run
-- does not count, and the next worker that looks for abandoned jobs may take it at once.
-- KEYS: job, queue; ARGV: group, entry, worker, idle time in milliseconds
if not holds(KEYS[2], ARGV[1], ARGV[2], ARGV[3]) then
  return 0
end
redis.call('HSET', KEYS[1], 'state', 'queued')
redis.call('HINCRBY', KEYS[1], 'attempts', -1)
redis.call('XCLAIM', KEYS[2], ARGV[1], 'nobody', 0, ARGV[2], 'IDLE', ARGV[4], 'JUSTID')
return 1
