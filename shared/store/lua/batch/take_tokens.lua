-- Take up to `wanted` tokens at the batch's pace (a token bucket of one second); renew the lease.
-- KEYS batch   ARGV fence wanted lease_ms
-- the number taken; -1: another worker has the lease, or the batch no longer runs
local h = redis.call('HMGET', KEYS[1], 'fe', 'st', 'rt', 'tk', 'ta')
if h[1] ~= ARGV[1] or (h[2] ~= 'planning' and h[2] ~= 'running') then return -1 end
local us = now_us()
redis.call('HSET', KEYS[1], 'lu', int(math.floor(us / 1000) + tonumber(ARGV[3])))
local wanted, rate = tonumber(ARGV[2]), tonumber(h[3])
if h[2] == 'planning' or rate == 0 then return wanted end
local tokens = tonumber(h[4] or 0) + (us - tonumber(h[5] or us)) / 1000000 * rate
tokens = math.min(tokens, math.max(1, rate))
local number = math.min(wanted, math.floor(tokens))
redis.call('HSET', KEYS[1], 'tk', string.format('%.6f', tokens - number), 'ta', int(us))
return number
