-- Put a task's message into the broker's list, unless enough wait there: a hint may be lost.
-- KEYS queue   ARGV message most
-- {'ok'}
local waiting = redis.pcall('LLEN', KEYS[1])
if type(waiting) == 'number' and waiting < tonumber(ARGV[2]) then redis.call('LPUSH', KEYS[1], ARGV[1]) end
return {'ok'}
