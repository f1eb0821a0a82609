-- allow-oom: delivers what is already recorded; updates it and adds next to nothing.
-- Release a held reset: it is due at once. KEYS r due:urgent due:bulk   ARGV id detail
-- 'released' | 'absent' | 'free': it was not held
local h = redis.call('HMGET', KEYS[1], 'st', 'hd', 'f', 'ff', 'q')
if not h[1] then return 'absent' end
if not h[2] then return 'free' end
redis.call('HDEL', KEYS[1], 'hd')
local now = math.floor(now_us() / 1000)
add_event(KEYS[1], now, 'released', '', ARGV[2])
local is_claimed = h[3] ~= (h[4] or '0')
if not FINAL[h[1]] and not is_claimed then
  look_again(KEYS[1], h[5] == 'bulk' and KEYS[3] or KEYS[2], ARGV[1], now)
end
return 'released'
