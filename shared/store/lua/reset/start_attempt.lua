-- allow-oom: delivers what is already recorded; an attempt takes 60 bytes.
-- Start an attempt: the last step before the provider is called. One claim makes one attempt.
-- KEYS r m   ARGV fence recipient_digest basis provider text_version [instead_of why]
-- the attempt's number; 0: the claim is over, the code void or superseded, or it is held; -1: about to expire
local h = redis.call('HMGET', KEYS[1], 'f', 'st', 'x', 'mg', 'v', 'ch', 'su', 'sf', 'hd', 'tv')
if h[1] ~= ARGV[1] or h[8] == ARGV[1] or FINAL[h[2]] or h[5] or h[7] or h[9] then return 0 end
local now = math.floor(now_us() / 1000)
if now > tonumber(h[3]) - tonumber(h[4]) then return -1 end
local number = redis.call('HINCRBY', KEYS[1], 'at', 1)
redis.call('HSET', KEYS[1], 'st', 'sending', 'to', ARGV[2], 'sf', ARGV[1],
           'a' .. number, cjson.encode({ARGV[4], int(now)}))
if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'bs', ARGV[3]) end
count(KEYS[2], h[2], 'sending', h[6])
if ARGV[5] ~= '' or h[10] then redis.call('HSET', KEYS[1], 'tv', ARGV[5]) end
if ARGV[6] then
  add_event(KEYS[1], now, 'failed_over', ARGV[4], 'instead of ' .. ARGV[6] .. ': ' .. ARGV[7])
  redis.call('HINCRBY', KEYS[2], 'sw:' .. label(ARGV[6]) .. ':' .. label(ARGV[4]) .. ':' .. ARGV[7], 1)
end
return number
