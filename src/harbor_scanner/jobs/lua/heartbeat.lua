-- Prolong the leases that this worker still holds; return the entries of those that it lost.
-- KEYS: queue; ARGV: group, worker, entries...
local lost = {}
for index = 3, #ARGV do
  if holds(KEYS[1], ARGV[1], ARGV[index], ARGV[2]) then
    -- JUSTID resets the idle time and leaves the delivery counter alone.
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[index], 'JUSTID')
  else
    lost[#lost + 1] = ARGV[index]
  end
end
return lost
