-- Remove the stream's consumers that hold nothing: this worker, which ends, and those not seen for an hour.
-- KEYS: queue; ARGV: group, worker
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local name, pending, idle = consumer[2], consumer[4], consumer[6]
  if pending == 0 and (name == ARGV[2] or idle > 3600000) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], name)
  end
end
return 1
