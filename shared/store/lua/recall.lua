-- allow-oom: what waits was promised; it moves what stands there and adds nothing.
-- RECALL: a claim whose answer was lost is nobody's: the reset is due again. Whoever does hold it
-- is fenced off by the next claim, and one at the provider's socket is left alone.
-- KEYS r due:urgent due:bulk   ARGV id      1: due again
local h = redis.call('HMGET', KEYS[1], 'st', 'f', 'ff', 'q')
local is_claimed = h[2] and h[2] ~= (h[3] or '0')
if not is_claimed or (h[1] ~= 'queued' and h[1] ~= 'retrying') then return 0 end
look_again(KEYS[1], h[4] == 'bulk' and KEYS[3] or KEYS[2], ARGV[1], math.floor(now_us() / 1000))
return 1
