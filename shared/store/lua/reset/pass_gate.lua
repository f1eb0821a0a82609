-- Check the suppression, the guard of SMS and the limits of organisation, caller and installation;
-- count the call only when all of them allow it. Windows begin with their first call. Calls that
-- ask for the same reset under one Idempotency-Key count once. docs/sms-guard.md has the formulae.
-- KEYS version suppression counted window… and of an SMS: mark named states totals subject…
-- ARGV expected_version may_count once_ms guard then name limit window_ms amount …
--      may_count: 1, 0, or 'suppressed' if that was looked up elsewhere; once_ms 0: not repeatable; guard: JSON of an SMS, '' of others
-- {'ok', tripped…} | {'checked'}: it may not count | {'stale'} | {'suppressed'} | {'limited', name, wait_ms} |
-- {'suspicious', rule, subject, until_ms, tripped…}
local RULES, LEVELS = {'velocity', 'conversion', 'source'}, {'watch', 'slow', 'stop'}
local MINUTE, HOUR, BUCKET_MS = 60000, 3600000, 600000
local WEIGHTS = {S = 1008, U = 1008, s = 12, u = 12}  -- of the past, in buckets: a week, two hours
local tripped = {}

-- Return the figures of a subject, with the buckets whose codes have ended folded into its past.
local function read_subject(key, b, now, mature)
  local h, flat = {}, redis.call('HGETALL', key)
  for i = 1, #flat, 2 do h[flat[i]] = tonumber(flat[i + 1]) end
  if h.b == b then return h end
  local learns = not (h.ends and h.ends > now and h.rule == 2)  -- an attack is no past to learn from
  local ended, past = {}, {'b', b}
  for name, weight in pairs(WEIGHTS) do
    h[name] = (h[name] or 0) * math.exp(((h.b or b) - b) / weight)
  end
  for field, n in pairs(h) do
    local kind, at = string.match(field, '^([su])(%d+)$')
    if at and tonumber(at) <= b - mature then
      h[kind] = h[kind] + n
      if learns then h[string.upper(kind)] = h[string.upper(kind)] + n end
      ended[#ended + 1] = field
    end
  end
  for name in pairs(WEIGHTS) do
    past[#past + 1], past[#past + 2] = name, string.format('%.6f', h[name])
  end
  redis.call('HSET', key, unpack(past))
  if #ended > 0 then redis.call('HDEL', key, unpack(ended)) end
  return h
end

-- Note that a rule has found something: for an hour, then six, then a day.
local function trip(key, states, totals, name, rule, level, h, now, open, threshold)
  local strikes = h.strikes + (level > 1 and 1 or 0)
  h.ends, h.rule, h.gap, h.next = now + HOUR * math.min(24, 6 ^ math.max(strikes - 1, 0)), rule, 0, 0
  redis.call('HSET', key, 'rule', rule, 'level', level, 'since', int(now), 'ends', int(h.ends),
             'strikes', strikes, 'open', open, 'most', int(threshold), 'refused', 0, 'gap', 0, 'next', 0)
  redis.call('ZREMRANGEBYSCORE', states, '-inf', int(now))
  redis.call('ZADD', states, int(h.ends), name)
  redis.call('HINCRBY', totals, 'tripped:' .. RULES[rule] .. ':' .. LEVELS[level], 1)
  tripped[#tripped + 1] = RULES[rule] .. ' ' .. LEVELS[level] .. ' ' .. name
end

-- Judge one prefix or source; return a refusal, or nil.
local function judge(key, states, totals, subject, guard, is_new, b, now)
  local name, numbers, first, rates = subject[1], subject[2], subject[3], subject[4]
  local h = read_subject(key, b, now, guard.mature)
  local sent, used = 0, 0
  for at = b - 5, b do
    sent, used = sent + (h['s' .. int(at)] or 0), used + (h['u' .. int(at)] or 0)
  end
  local open, level = sent - used, h.ends and h.ends > now and h.level or 0
  if level > 0 and h.rule ~= 2 and open < used and now - (h.lifted or 0) > HOUR then
    level, h.strikes = 0, 0  -- people, after all
    redis.call('HSET', key, 'ends', 0, 'strikes', 0, 'lifted', int(now))
    redis.call('ZREM', states, name)
  end
  h.strikes = h.since and now - h.since < 48 * HOUR and h.strikes or 0
  local threshold = math.max(numbers / 2 ^ h.strikes + used, h.U / 84)
  local expected, share = (h.U + 7) / (h.S + 10), h.u / math.max(h.s, 1)
  if first > level and is_new and open + 1 > threshold then
    level = first
    trip(key, states, totals, name, name:sub(1, 1) == '+' and 1 or 3, level, h, now, open, threshold)
  elseif rates > level and h.s >= 10 and share < expected / 2
      and expected - share > 3 * math.sqrt(expected * (1 - expected) / h.s) then
    level = rates
    trip(key, states, totals, name, 2, level, h, now, open, threshold)
  end
  if level == 0 then return end
  redis.call('HINCRBY', totals, 'met:' .. RULES[h.rule] .. ':' .. LEVELS[level], 1)
  if level == 3 then
    redis.call('HINCRBY', key, 'refused', 1)
    return {'suspicious', RULES[h.rule], name, int(h.ends), unpack(tripped)}
  elseif level == 2 then
    if now < (h.next or 0) then return {'limited', 'sms_slow', int(h.next - now)} end
    local gap = math.min(math.max((h.gap or 0) * 2, MINUTE), HOUR)
    redis.call('HSET', key, 'gap', int(gap), 'next', int(now + gap))
  end
end

local version = tonumber(ARGV[1])  -- -1: no caller is involved
if version >= 0 and tonumber(redis.call('GET', KEYS[1]) or '0') ~= version then return {'stale'} end
if ARGV[2] == 'suppressed' or redis.call('EXISTS', KEYS[2]) == 1 then return {'suppressed'} end
if ARGV[2] == '0' then return {'checked'} end
if redis.call('EXISTS', KEYS[3]) == 1 then return {'ok'} end
local guard = ARGV[4] ~= '' and cjson.decode(ARGV[4]) or {subjects = {}, named = {}}
local last = ARGV[4] == '' and #KEYS or #KEYS - #guard.subjects - 4
local now, is_allowed = math.floor(now_us() / 1000), false
local b = math.floor(now / BUCKET_MS)
for i = #guard.named, 1, -1 do  -- the longest prefix that an operator named counts
  local text = redis.call('HGET', KEYS[last + 2], guard.named[i])
  local entry = text and cjson.decode(text)
  if entry and (entry[5] == 0 or entry[5] > now) then
    if entry[1] == 'block' then
      redis.call('HINCRBY', KEYS[last + 4], 'met:block:stop', 1)
      return {'suspicious', 'block', guard.named[i], int(entry[5])}
    end
    is_allowed = true
    break
  end
end
local is_new = #guard.subjects > 0 and redis.call('EXISTS', KEYS[last + 1]) == 0
for i, subject in ipairs(guard.subjects) do
  if not (is_allowed and subject[1]:sub(1, 1) == '+') then
    local refusal = judge(KEYS[last + 4 + i], KEYS[last + 3], KEYS[last + 4], subject, guard, is_new, b, now)
    if refusal then return refusal end
  end
end
local limited = count_call(KEYS, 4, last, ARGV, 5)
if limited then return limited end
if is_new then
  local mark = guard.reset_id .. ' ' .. int(b) .. ' ' .. guard.source
  redis.call('SET', KEYS[last + 1], mark, 'PX', guard.lifetime_ms)
  for i = last + 5, #KEYS do
    redis.call('HINCRBY', KEYS[i], 's' .. int(b), 1)
    redis.call('PEXPIRE', KEYS[i], 30 * 24 * HOUR)
  end
end
if ARGV[3] ~= '0' and last > 3 then redis.call('SET', KEYS[3], 1, 'PX', ARGV[3]) end
return {'ok', unpack(tripped)}
