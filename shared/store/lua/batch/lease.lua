-- Lease a batch: one worker at a time feeds it.   KEYS batch   ARGV lease_ms
-- the fence, or 0: another worker has it, or there is no work
local h, us = redis.call('HMGET', KEYS[1], 'st', 'lu', 'fe'), now_us()
local now, fence = math.floor(us / 1000), next_fence(h[3], us)
if (h[1] ~= 'planning' and h[1] ~= 'running') or tonumber(h[2]) > now then return 0 end
redis.call('HSET', KEYS[1], 'lu', int(now + tonumber(ARGV[1])), 'fe', fence)
return tonumber(fence)
