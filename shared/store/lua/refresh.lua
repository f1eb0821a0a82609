-- allow-oom: what waits was promised; it moves what stands there and adds nothing.
-- REFRESH: a reset that nobody has tried to send lives anew; its code was in no one's hands.
-- KEYS r live   ARGV id life_ms      1 when it does
local h = redis.call('HMGET', KEYS[1], 'st', 'at', 'v', 'su')
if h[1] ~= 'queued' or h[2] ~= '0' or h[3] or h[4] then return 0 end
local deadline = math.floor(now_us() / 1000) + tonumber(ARGV[2])
redis.call('HSET', KEYS[1], 'x', int(deadline))
redis.call('ZADD', KEYS[2], 'XX', int(deadline), ARGV[1])
keep_for(KEYS[2], tonumber(ARGV[2]) + 86400000)
return 1
