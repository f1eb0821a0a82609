-- Reserve one of a user's few tries before any code is compared; return the codes to compare with.
-- KEYS u live recent   ARGV max_wrong max_day tag reserve_ms
-- {'limited', wait_ms} | {'spent'} | {'try', id, key_id, deadline_ms, void, language, channel, is_live, basis, …}
local now = math.floor(now_us() / 1000)
local h = redis.call('HMGET', KEYS[1], 'w', 'wd', 'wdx', 'rv', 'rvx')
if h[3] and tonumber(h[3]) <= now then
  redis.call('HDEL', KEYS[1], 'wd', 'wdx')
  h[2], h[3] = false, false
end
if h[5] and tonumber(h[5]) <= now then  -- reserved by a process that died: it compares no more
  redis.call('HDEL', KEYS[1], 'rv', 'rvx')
  h[4] = false
end
if tonumber(h[2] or 0) >= tonumber(ARGV[2]) then return {'limited', int(tonumber(h[3]) - now)} end
if tonumber(h[1] or 0) + tonumber(h[4] or 0) >= tonumber(ARGV[1]) then return {'spent'} end
redis.call('HINCRBY', KEYS[1], 'rv', 1)
redis.call('HSET', KEYS[1], 'rvx', int(now + tonumber(ARGV[4])))
redis.call('HINCRBY', KEYS[1], 'wd', 1)
if not h[3] then redis.call('HSET', KEYS[1], 'wdx', int(now + 86400000)) end
return {'try', unpack(known_codes(KEYS[2], KEYS[3], ARGV[3], now))}
