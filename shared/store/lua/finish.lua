-- FINISH: what came of a claim. A stale holder changes nothing; saying it twice changes nothing.
-- KEYS r due u live m
-- ARGV id fence status reason delay_ms keep_ms outcome provider_message_id detail duration_ms
--      provider bucket…          (outcome '' when no attempt was made)
local id, status = ARGV[1], ARGV[3]
local h = redis.call('HMGET', KEYS[1], 'f', 'ff', 'st', 'ch', 'x', 'mg', 'at', 'db')
if h[1] ~= ARGV[2] then return 0 end
if h[2] == ARGV[2] then return 1 end
local now = math.floor(now_us() / 1000)
redis.call('HSET', KEYS[1], 'ff', ARGV[2], 'cl', 0, 'rs', ARGV[4])

if ARGV[7] ~= '' then
  local a = cjson.decode(redis.call('HGET', KEYS[1], 'a' .. h[7]))
  redis.call('HSET', KEYS[1], 'a' .. h[7],
             cjson.encode({a[1], a[2], int(now), ARGV[7], ARGV[8], ARGV[9]}))
  local name = 'p:' .. ARGV[11] .. ':' .. ARGV[7] .. ':'
  redis.call('HINCRBY', KEYS[5], name .. 'n', 1)
  redis.call('HINCRBY', KEYS[5], name .. 'ms', ARGV[10])
  redis.call('HINCRBY', KEYS[5], name .. 'b' .. ARGV[12], 1)
end

if FINAL[status] then
  settle(KEYS[1], KEYS[2], KEYS[5], id, h[3], status, h[4], ARGV[4], now, tonumber(ARGV[6]))
  if status ~= 'accepted' then
    if redis.call('HGET', KEYS[3], 'cdid') == id then
      redis.call('HDEL', KEYS[3], 'cd', 'cdid')  -- it never reached anybody: ask again at once
    end
    if h[8] == '0' then redis.call('ZREM', KEYS[4], id) end
  end
  return 1
end

local deadline, at = tonumber(h[5]), now + tonumber(ARGV[5])
if ARGV[7] == 'doubt' then redis.call('HINCRBY', KEYS[1], 'db', 1) end
if status == 'unknown' then
  at = math.min(at, deadline)
elseif at > deadline - tonumber(h[6]) then
  at = deadline  -- no attempt fits any more; expired is what it becomes then
end
redis.call('HSET', KEYS[1], 'st', status)
count(KEYS[5], h[3], status, h[4])
look_again(KEYS[1], KEYS[2], id, at)
return 1
