-- Replace or remove the texts of one language, if they are still of the version that was read.
-- KEYS organisation profile history   ARGV language version sentences by reason most (sentences '': removed)
-- the new version; 0: another one is in force, or the organisation is gone
local field = 'text:' .. ARGV[1]
local found = redis.call('HGET', KEYS[2], field)
local version = found and string.match(found, '^%d+') or '0'
if version ~= ARGV[2] or redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local new = redis.call('HINCRBY', KEYS[2], 'texts', 1)
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[2], field)
else
  redis.call('HSET', KEYS[2], field, new .. ' ' .. ARGV[3])
end
local at = int(math.floor(now_us() / 1000))
redis.call('LPUSH', KEYS[3], cjson.encode({new, ARGV[1], ARGV[3], ARGV[4], ARGV[5], at}))
redis.call('LTRIM', KEYS[3], 0, tonumber(ARGV[6]) - 1)
return new
