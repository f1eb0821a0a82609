-- Replace or remove the texts of one language, if they are still of the version that was read.
-- KEYS profile history organisation   ARGV language version sentences by reason most (sentences '': removed)
-- the new version; 0: another one is in force, or the organisation is gone
local field = 'text:' .. ARGV[1]
if redis.call('EXISTS', KEYS[3]) == 0 then return 0 end
local found = redis.call('HGET', KEYS[1], field)
local version = found and string.match(found, '^%d+') or '0'
if version ~= ARGV[2] then return 0 end
local new = redis.call('HINCRBY', KEYS[1], 'texts', 1)
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], field)
else
  redis.call('HSET', KEYS[1], field, new .. ' ' .. ARGV[3])
end
local at = int(math.floor(now_us() / 1000))
redis.call('LPUSH', KEYS[2], cjson.encode({new, ARGV[1], ARGV[3], ARGV[4], ARGV[5], at}))
redis.call('LTRIM', KEYS[2], 0, tonumber(ARGV[6]) - 1)
return new
