-- Put jobs whose delay is over back in the queue.
-- KEYS: delayed, queue; ARGV: how many at most
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', math.floor(now() * 1000), 'LIMIT', 0, ARGV[1])
for _, id in ipairs(due) do
  redis.call('ZREM', KEYS[1], id)
  redis.call('XADD', KEYS[2], '*', 'job', id)
end
return #due
