-- allow-oom: delivers what is already recorded; an attempt takes 60 bytes.
-- Start an attempt: the last step before the provider is called. One claim makes one attempt.
-- KEYS r m   ARGV fence recipient_digest basis provider text_version [instead_of why]
-- the attempt's number; 0: the claim is over, the code void or superseded, or it is held; -1: about to expire
local h = redis.call('HMGET', KEYS[1], 'f', 'st', 'x', 'mg', 'v', 'ch', 'su', 'sf', 'hd', 'at', 'tv')
if h[1] ~= ARGV[1] or h[8] == ARGV[1] or FINAL[h[2]] or h[5] or h[7] or h[9] then return 0 end
local now = math.floor(now_us() / 1000)
if now > tonumber(h[3]) - tonumber(h[4]) then return -1 end
local number = tonumber(h[10] or '0') + 1
local fields = {'st', 'sending', 'to', ARGV[2], 'sf', ARGV[1], 'at', int(number),
                'a' .. int(number), cjson.encode({ARGV[4], int(now)})}
if ARGV[3] ~= '' then fields[#fields + 1], fields[#fields + 2] = 'bs', ARGV[3] end
redis.call('HSET', KEYS[1], unpack(fields))
count(KEYS[2], h[2], 'sending', h[6])
if ARGV[5] ~= '' or h[11] then redis.call('HSET', KEYS[1], 'tv', ARGV[5]) end
if ARGV[6] then
  add_event(KEYS[1], now, 'failed_over', ARGV[4], 'instead of ' .. ARGV[6] .. ': ' .. ARGV[7])
  redis.call('HINCRBY', KEYS[2], 'sw:' .. ARGV[6] .. ':' .. ARGV[4] .. ':' .. ARGV[7], 1)
end
return number
