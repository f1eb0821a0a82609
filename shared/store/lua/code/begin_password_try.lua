-- Reserve one of the few tries of a user's current password.
-- KEYS u   ARGV max_wrong window_ms    the milliseconds to wait, or 0: try
local now = math.floor(now_us() / 1000)
local h = redis.call('HMGET', KEYS[1], 'pw', 'pwx')
local tries, till = tonumber(h[1] or 0), tonumber(h[2] or 0)
if till <= now then tries, till = 0, now + tonumber(ARGV[2]) end
if tries >= tonumber(ARGV[1]) then return int(till - now) end
tries = tries + 1
if tries >= tonumber(ARGV[1]) then till = now + tonumber(ARGV[2]) end
redis.call('HSET', KEYS[1], 'pw', tries, 'pwx', int(till))
return '0'
