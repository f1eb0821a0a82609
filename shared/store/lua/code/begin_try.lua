-- Count a try of a typed code toward its source before any code is compared, so that parallel guesses
-- gain nothing; return the codes to compare with. The same steps for a user who does not exist.
-- KEYS guesses u
-- ARGV field max_wrong wait_ms max_sources tag shown_source user_id
-- {'limited', wait_ms} | {'try', and what known_codes returns, as it was before this try}
local now, tag = math.floor(now_us() / 1000), ARGV[5]
local field, max_wrong, wait_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local tries, till = guesses_of(KEYS[1], field, now)
if tries >= max_wrong then return {'limited', int(till - now)} end
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) and redis.call('HEXISTS', KEYS[1], field) == 0 then
  -- Make room: what is over goes, else what ends first. A reset's own count goes on.
  local first, first_till
  local all = redis.call('HGETALL', KEYS[1])
  for i = 1, #all, 2 do
    local ends = tonumber(cjson.decode(all[i + 1])[2])
    if ends <= now then redis.call('HDEL', KEYS[1], all[i]) end
    if not first or ends < first_till then first, first_till = all[i], ends end
  end
  redis.call('HDEL', KEYS[1], first)
end
tries = tries + 1
if till == 0 or tries >= max_wrong then till = now + wait_ms end
-- The user's id is kept where there are codes: what a stranger invents is not.
local known = known_codes(KEYS[2], tag, now)
local name = #known > 0 and ARGV[7] or ''
redis.call('HSET', KEYS[1], field, cjson.encode({tries, int(till), ARGV[6], name}))
redis.call('PEXPIRE', KEYS[1], int(wait_ms))
for i = 1, #known, 9 do
  if known[i + 6] == 1 then redis.call('HINCRBY', tag .. ':r:' .. known[i], 'gw', 1) end
end
return {'try', unpack(known)}
