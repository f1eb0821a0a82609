-- allow-oom: erasing frees memory.
-- Erase what a shard holds of a user; or, with a recipient's digest, what went to that recipient, and
-- what waits for its channel. Messages that wait are cancelled; codes end.
-- KEYS u older req no guesses told receipts m
-- ARGV tag user_digest recipient_digest ('': everything) channel
-- JSON: {n = name → number, ids = reset ids, ik = digests of Idempotency-Keys, to = of recipients}
local tag, user, only, channel = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local now, is_all = math.floor(now_us() / 1000), only == ''
local n = {resets = 0, codes = 0, cancelled = 0, webhooks = 0, refusals = 0, guesses = 0, reports = 0,
           counts = 0}
local ids, ik, to, known = {}, {}, {}, {}
local function note(id)
  if not known[id] then known[id], ids[#ids + 1] = true, id end
end
for _, id in ipairs(last_resets(KEYS[1])) do note(id) end
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do note(id) end
local last = cjson.decode(redis.call('HGET', KEYS[1], 'nn') or '{}')  -- notices, by digest
for _, notice in pairs(last) do note(notice[1]) end

local erased = {}
for _, id in ipairs(ids) do
  local r = tag .. ':r:' .. id
  local h = redis.call('HMGET', r, 'st', 'q', 'ch', 'to', 'nt', 'c', 'ik', 'k')
  local is_meant = is_all or h[4] == only or h[5] == only or
                   (h[1] and h[3] == channel and not h[4] and h[8] == 'reset')
  if is_meant then
    if h[1] and not FINAL[h[1]] then
      settle(r, tag .. ':due:' .. h[2], KEYS[8], id, h[1], 'cancelled', h[3], 'user_gone', now, 1000)
      n.cancelled = n.cancelled + 1
    end
    if h[8] ~= 'notice' and works(r, now) then n.codes = n.codes + 1 end
    redis.call('HDEL', KEYS[1], id)
    redis.call('ZREM', KEYS[2], id)
    if h[6] and h[8] ~= 'notice' then
      redis.call('LREM', tag .. ':made:' .. int(math.floor(tonumber(h[6]) / 600000000)), 1, id)
    end
    if h[7] then ik[#ik + 1] = h[7] end
    for _, digest in ipairs({h[4] or '', h[5] or ''}) do
      if digest ~= '' then to[#to + 1] = digest end
    end
    n.resets = n.resets + redis.call('DEL', r)
    erased[id] = true
  end
end

if next(erased) and redis.call('LLEN', KEYS[7]) > 0 then
  for _, item in ipairs(redis.call('LRANGE', KEYS[7], 0, -1)) do
    if erased[string.match(item, '^[^ ]+')] then
      n.reports = n.reports + redis.call('LREM', KEYS[7], 1, item)
    end
  end
end
if is_all then
  for _, member in ipairs(redis.call('ZRANGE', KEYS[6], 0, -1)) do
    local sub, own = string.match(member, '^([^:]+):(.+)$')
    n.webhooks = n.webhooks + redis.call('DEL', tag .. ':wh:' .. member)
    redis.call('ZREM', tag .. ':whd:' .. sub, own)
    redis.call('ZREM', tag .. ':whx:' .. sub, own)
  end
  n.refusals = redis.call('LLEN', KEYS[4])
  for _, field in ipairs(redis.call('HKEYS', KEYS[5])) do
    if string.sub(field, 1, #user + 1) == user .. ':' then
      n.guesses = n.guesses + redis.call('HDEL', KEYS[5], field)
    end
  end
  n.counts = redis.call('EXISTS', KEYS[1])
  for _, i in ipairs({1, 2, 3, 4, 6}) do redis.call('DEL', KEYS[i]) end
else
  last[only] = nil
  if next(last) then
    redis.call('HSET', KEYS[1], 'nn', cjson.encode(last))
  else
    redis.call('HDEL', KEYS[1], 'nn')
  end
end
local gone = {}
for id in pairs(erased) do gone[#gone + 1] = id end
return cjson.encode({n = n, ids = gone, ik = ik, to = to})
