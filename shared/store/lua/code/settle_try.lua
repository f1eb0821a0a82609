-- allow-oom: a wrong guess must count, and a reserved try be returned.
-- Settle a reserved try. KEYS u live   ARGV what id max_wrong tag hold_token hold_ms
-- refund: the code was right, or an old one; opened: right, but not used; wrong; take: right, and
-- about to be used. Return 'ok', 'voided' (that was the last wrong try), 'none' (no live code),
-- 'gone' (used or voided meanwhile), 'held' (another request is using it right now).
local what, id = ARGV[1], ARGV[2]
local now = math.floor(now_us() / 1000)

local function lower(field)
  if tonumber(redis.call('HGET', KEYS[1], field) or '0') > 0 then
    redis.call('HINCRBY', KEYS[1], field, -1)
  end
end

lower('rv')
if what ~= 'wrong' then
  lower('wd')
  if what == 'refund' then return 'ok' end
  local score = redis.call('ZSCORE', KEYS[2], id)
  if not score or tonumber(score) <= now then return 'gone' end
  redis.call('HSETNX', ARGV[4] .. ':r:' .. id, 'op', int(now))
  if what == 'opened' then return 'ok' end
  local held = redis.call('HGET', KEYS[1], 'hx')
  if held and tonumber(held) > now then return 'held' end
  redis.call('HSET', KEYS[1], 'h', ARGV[5], 'hx', int(now + tonumber(ARGV[6])))
  return 'ok'
end
if redis.call('ZCARD', KEYS[2]) == 0 then return 'none' end
if redis.call('HINCRBY', KEYS[1], 'w', 1) < tonumber(ARGV[3]) then return 'ok' end
for _, other in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  redis.call('HSET', ARGV[4] .. ':r:' .. other, 'v', 'voided')
end
redis.call('DEL', KEYS[2])
redis.call('HDEL', KEYS[1], 'w')
return 'voided'
