-- Check whether a batch should send to this user.   KEYS r u   ARGV id tag channel since_ms
-- 'known': its reset exists already; 'completed' or 'newer_reset': no; '': yes
if redis.call('EXISTS', KEYS[1]) == 1 then return 'known' end
local now = math.floor(now_us() / 1000)
return in_the_way(KEYS[2], ARGV[2], ARGV[1], ARGV[3], tonumber(ARGV[4]), now)
