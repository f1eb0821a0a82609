-- Delete webhooks of a removed subscription; return how many.
-- KEYS due dead   ARGV record_prefix max
local number = 0
for _, key in ipairs(KEYS) do
  for _, member in ipairs(redis.call('ZRANGE', key, 0, tonumber(ARGV[2]) - 1)) do
    redis.call('DEL', ARGV[1] .. member)
    redis.call('ZREM', key, member)
    number = number + 1
  end
end
return number
