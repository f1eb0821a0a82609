-- allow-oom: counts what is already recorded; moves a cursor.
-- Move a batch's cursor and add to its counts in one step, so that nothing counts twice.
-- KEYS batch active   ARGV id fence list position refund is_end then field, number …
-- 1, or 0: another worker has the lease
local h = redis.call('HMGET', KEYS[1], 'fe', 'st')
if h[1] ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'cu', ARGV[3], 'co', ARGV[4])
for i = 7, #ARGV, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
if tonumber(ARGV[5]) > 0 and redis.call('HEXISTS', KEYS[1], 'tk') == 1 then
  redis.call('HINCRBYFLOAT', KEYS[1], 'tk', ARGV[5])
end
if ARGV[6] == '1' and h[2] == 'planning' then
  redis.call('HSET', KEYS[1], 'st', 'planned', 'cu', 0, 'co', 0)
  redis.call('SREM', KEYS[2], ARGV[1])
end
return 1
