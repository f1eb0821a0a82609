-- allow-oom: delivers what is already recorded; updates it and adds nothing.
-- Make a claimed reset due again, because the answer to the claim was lost. If a worker does hold
-- it, the next claim fences it off; an attempt under way is not touched.
-- KEYS r due:urgent due:bulk   ARGV id      1: due again
local h = redis.call('HMGET', KEYS[1], 'st', 'f', 'ff', 'q')
local is_claimed = h[2] and h[2] ~= (h[3] or '0')
if not is_claimed or (h[1] ~= 'queued' and h[1] ~= 'retrying') then return 0 end
look_again(KEYS[1], h[4] == 'bulk' and KEYS[3] or KEYS[2], ARGV[1], math.floor(now_us() / 1000))
return 1
