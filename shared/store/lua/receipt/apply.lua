-- allow-oom: it was received already; an event takes 100 bytes.
-- Apply the first report of a shard's list to its reset, and remove it from the list; in one step.
-- No fence: the provider knows better than the holder of a claim. docs/architecture.md says which
-- status may follow which.
-- KEYS r receipts due:urgent due:bulk m
-- ARGV item id tag keep_ms kind status at_ms provider message_id reason detail offered_id bound_ms…
-- {'moved'}: another worker was first; {'unknown'}: the record is gone; {'applied', from, to or ''}
local id, tag, kind, provider, message_id = ARGV[2], ARGV[3], ARGV[5], ARGV[8], ARGV[9]
local m = KEYS[5]
if redis.call('LINDEX', KEYS[2], 0) ~= ARGV[1] then return {'moved'} end
redis.call('LPOP', KEYS[2])  -- first: one that cannot be applied must not keep all others waiting
local h = redis.call('HMGET', KEYS[1], 'st', 'ch', 'q', 'c', 'at', 'ud', 'k', 'en', 'cp')
local st, channel = h[1], h[2]
if not st then
  redis.call('HINCRBY', m, 'cb:' .. label(provider) .. ':unknown', 1)
  return {'unknown'}
end
local at, now = tonumber(ARGV[7]), math.floor(now_us() / 1000)

-- The attempt it is about: the one with this message id, else the newest without
-- a known outcome, which is settled by this. Return false if it is not the last copy.
local function settle_attempt()
  local last
  local open
  for n = tonumber(h[5]), 1, -1 do
    local a = cjson.decode(redis.call('HGET', KEYS[1], 'a' .. n))
    if a[1] == provider then
      last = last or a
      if message_id ~= '' and a[5] == message_id then return a == last end
      if not open and (not a[4] or a[4] == 'doubt') then open = {n, a} end
    end
  end
  if open then
    local a = open[2]
    redis.call('HSET', KEYS[1], 'a' .. open[1],
               cjson.encode({a[1], a[2], a[3] or int(now), 'found', message_id,
                             'the provider told by a callback that it has it'}))
    redis.call('HINCRBY', m, 'p:' .. label(provider) .. ':found:n', 1)
    redis.call('HINCRBY', m, 'p:' .. label(provider) .. ':found:b25', 1)
    return a == last
  end
  return not last or not last[5] or last[5] == '' or message_id == ''
end

local to, is_last = ARGV[6], true
if to ~= '' then is_last = settle_attempt() end
local is_open = not FINAL[st]
local may_follow = st == 'accepted' and h[7] ~= 'returned'
-- The last word on each copy: the second of its delivery, or false. What came back stays so, and
-- one copy that failed says nothing of another that was taken.
local copies, copy = cjson.decode(h[9] or '{}'), provider .. ' ' .. message_id
local before, second = copies[copy], math.floor(at / 1000)  -- SendGrid counts seconds
local is_stale = before == false or (before and to ~= 'delivered' and second < before)
if to ~= '' and to ~= 'accepted' and not is_stale then
  copies[copy] = to == 'delivered' and math.max(second, before or 0)
  redis.call('HSET', KEYS[1], 'cp', cjson.encode(copies))
end
local has_arrived, has_failed = false, false
for _, word in pairs(copies) do
  has_arrived, has_failed = has_arrived or word, has_failed or not word
end
if to == 'accepted' then
  if not is_open then to = '' end
elseif to == 'delivered' then
  local is_revised = has_failed and (st == 'undelivered' or st == 'failed' or st == 'suppressed')
  if is_stale or not (is_open or may_follow or is_revised) then to = '' end
elseif to ~= '' then
  local is_revised = st == 'delivered' and not has_arrived and (before or is_last)
  if is_stale or not (is_open or may_follow and is_last or is_revised) then to = '' end
end

if kind == 'deferred' then  -- a mail may be deferred for days: the last time is enough
  local last = tonumber(h[8] or '0')
  local e = last > 0 and cjson.decode(redis.call('HGET', KEYS[1], 'e' .. last))
  if e and e[2] == kind and e[3] == provider then
    redis.call('HSET', KEYS[1], 'e' .. last, cjson.encode({int(at), kind, provider, ARGV[11]}))
  else
    add_event(KEYS[1], at, kind, provider, ARGV[11])
  end
elseif kind ~= 'accepted' or to ~= '' then
  add_event(KEYS[1], at, kind, provider, ARGV[11])
end

if to ~= '' then
  local due = h[3] == 'bulk' and KEYS[4] or KEYS[3]
  settle(KEYS[1], due, m, id, st, to, channel, ARGV[10], now, tonumber(ARGV[4]))
  if to == 'delivered' then
    took(m, 'd:' .. channel .. ':' .. label(provider) .. ':', at - math.floor(tonumber(h[4]) / 1000), ARGV, 13)
  elseif to ~= 'accepted' and h[6] then
    give_back(tag .. ':u:' .. h[6], KEYS[1], id, 1)
  end
end
if ARGV[12] ~= '' then add_event(KEYS[1], now, 'offered', '', 'by reset ' .. ARGV[12]) end
return {'applied', st, to}
