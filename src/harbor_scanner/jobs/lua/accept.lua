-- Keep a job and put it in the queue, in one step. Repeating it changes nothing.
-- A job for an image of which another job that has not begun asks for other reports joins that one, and shares its run.
-- KEYS: job, queue, stats, joined
-- ARGV: job id, request, sealed authorization, events channel, prefix of companions,
--       key of what is asked of the image (empty if jobs do not join), kinds of reports...
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
local open = ARGV[6]
local sequence = redis.call('HINCRBY', KEYS[3], 'accepted', 1)
redis.call('HSET', KEYS[1],
  'state', 'queued', 'request', ARGV[2], 'sequence', sequence, 'attempts', 0, 'queued_at', now(),
  'reports', table.concat(ARGV, ' ', 7), 'open', open)
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[1], 'authorization', ARGV[3])
end
if open ~= '' then
  local leader = redis.call('HGET', open, 'leader')
  local prefix = string.sub(KEYS[1], 1, #KEYS[1] - #ARGV[1])
  if leader and redis.call('EXISTS', prefix .. leader) == 0 then
    redis.call('DEL', open)
    leader = false
  end
  local joins = leader
  for index = 7, #ARGV do
    joins = joins and redis.call('HEXISTS', open, ARGV[index]) == 0
  end
  if joins or not leader then
    for index = 7, #ARGV do
      redis.call('HSET', open, ARGV[index], '')
    end
  end
  if joins then
    redis.call('RPUSH', ARGV[5] .. leader, ARGV[1])
    redis.call('SADD', KEYS[4], ARGV[1])
    return 1
  end
  if not leader then
    redis.call('HSET', open, 'leader', ARGV[1])
    -- Should nobody ever close it: a day is longer than any queue.
    redis.call('EXPIRE', open, 86400)
  end
end
redis.call('XADD', KEYS[2], '*', 'job', ARGV[1])
redis.call('PUBLISH', ARGV[4], 'queued')
return 1
