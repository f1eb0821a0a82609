-- allow-oom: delivers what is already recorded; updates it and adds nothing.
-- Restart the lifetime of a reset that has had no attempt: its code was never sent.
-- KEYS r   ARGV life_ms      1 when renewed
local h = redis.call('HMGET', KEYS[1], 'st', 'at', 'v', 'su')
if h[1] ~= 'queued' or h[2] ~= '0' or h[3] or h[4] then return 0 end
local deadline = math.floor(now_us() / 1000) + tonumber(ARGV[1])
redis.call('HSET', KEYS[1], 'x', int(deadline))
return 1
