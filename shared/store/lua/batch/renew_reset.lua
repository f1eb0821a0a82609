-- allow-oom: delivers what is already recorded; updates it and adds nothing.
-- Restart the lifetime of a reset that has had no attempt: its code was never sent.
-- KEYS r live   ARGV id life_ms      1 when renewed
local h = redis.call('HMGET', KEYS[1], 'st', 'at', 'v', 'su')
if h[1] ~= 'queued' or h[2] ~= '0' or h[3] or h[4] then return 0 end
local deadline = math.floor(now_us() / 1000) + tonumber(ARGV[2])
redis.call('HSET', KEYS[1], 'x', int(deadline))
redis.call('ZADD', KEYS[2], 'XX', int(deadline), ARGV[1])
keep_for(KEYS[2], tonumber(ARGV[2]) + 86400000)
return 1
