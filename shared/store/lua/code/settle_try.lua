-- allow-oom: a wrong guess must count, and a counted try be returned.
-- Settle a try. KEYS u live guesses m   ARGV what id field tag hold_token hold_ms   field '': it was not counted
-- wrong_typed, wrong_link; refund: the code was right, and had ended; opened: right, but not used;
-- take: right, and about to be used.
-- Return 'ok', 'gone' (ended meanwhile), 'held' (another request is using it right now).
local what, id, field, tag = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local now = math.floor(now_us() / 1000)
if string.sub(what, 1, 6) == 'wrong_' then
  redis.call('HINCRBY', KEYS[4], 'wrong:' .. string.sub(what, 7), 1)
  return 'ok'
end
local tries, _, entry = guesses_of(KEYS[3], field, now)
if tries > 0 then
  for _, other in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    local r = tag .. ':r:' .. other
    if tonumber(redis.call('HGET', r, 'gw') or '0') > 0 then redis.call('HINCRBY', r, 'gw', -1) end
  end
  if what == 'refund' and tries > 1 then
    entry[1] = tries - 1
    redis.call('HSET', KEYS[3], field, cjson.encode(entry))
  else
    redis.call('HDEL', KEYS[3], field)  -- who has a code that works is no guesser
  end
end
if what == 'refund' then return 'ok' end
local score = redis.call('ZSCORE', KEYS[2], id)
if not score or tonumber(score) <= now then return 'gone' end
redis.call('HSETNX', tag .. ':r:' .. id, 'op', int(now))
if what == 'opened' then return 'ok' end
local held = redis.call('HGET', KEYS[1], 'hx')
if held and tonumber(held) > now then return 'held' end
redis.call('HSET', KEYS[1], 'h', ARGV[5], 'hx', int(now + tonumber(ARGV[6])))
return 'ok'
