-- Close a job that is about to be run, so that no other joins it any more, and return those that did. Repeating it
-- changes nothing. Returns nothing if the lease was lost.
-- KEYS: job, queue, companions; ARGV: group, entry, worker, job id, prefix of jobs
if not holds(KEYS[2], ARGV[1], ARGV[2], ARGV[3]) then
  return false
end
close(KEYS[1], ARGV[4])
local found = {}
for _, id in ipairs(redis.call('LRANGE', KEYS[3], 0, -1)) do
  local job = redis.call('HMGET', ARGV[5] .. id, 'request', 'authorization')
  if job[1] then
    redis.call('HSET', ARGV[5] .. id, 'state', 'running')
    found[#found + 1] = {id, job[1], job[2]}
  end
end
return found
