-- Let a job that has joined another one be run on its own.
-- KEYS: queue, companions, joined, the job; ARGV: group, entry, worker, job id
if not holds(KEYS[1], ARGV[1], ARGV[2], ARGV[3]) then
  return 0
end
if redis.call('LREM', KEYS[2], 0, ARGV[4]) > 0 then
  send(KEYS[1], KEYS[3], KEYS[4], ARGV[4])
end
return 1
