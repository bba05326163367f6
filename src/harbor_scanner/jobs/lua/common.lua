-- Stands before every other script.

-- Whether the worker still holds the lease of a stream entry.
local function holds(queue, group, entry, worker)
  local pending = redis.call('XPENDING', queue, group, entry, entry, 1)
  return pending[1] ~= nil and pending[1][2] == worker
end

-- The time in seconds, with six decimals.
local function now()
  local time = redis.call('TIME')
  return time[1] .. '.' .. string.format('%06d', time[2])
end

-- Remove an entry from the queue.
local function leave(queue, group, entry)
  redis.call('XACK', queue, group, entry)
  redis.call('XDEL', queue, entry)
end

-- Put a job that had joined another one back in the queue, to be run on its own; unless it is gone, by whatever hand.
local function send(queue, joined, job, id)
  if redis.call('EXISTS', job) == 1 then
    redis.call('HSET', job, 'state', 'queued')
    redis.call('XADD', queue, '*', 'job', id)
  end
  redis.call('SREM', joined, id)
end

-- Let the companions of a job, whose run will not serve them, be run on their own.
local function part(queue, companions, joined, prefix)
  for _, id in ipairs(redis.call('LRANGE', companions, 0, -1)) do
    send(queue, joined, prefix .. id, id)
  end
  redis.call('DEL', companions)
end

-- Let no other job join this one any more.
local function close(job, id)
  local open = redis.call('HGET', job, 'open')
  if open and open ~= '' and redis.call('HGET', open, 'leader') == id then
    redis.call('DEL', open)
  end
end
