-- allow-oom: a few counters per provider; recorded resets must still go out.
-- Read or update a provider's circuit breaker; every change of its state is made here.
-- KEYS circuit
-- ARGV window_ms fewest_tries most_in_a_row open_ms most_open_ms probes keep_ms verb …
--   look
--   tell good bad account outage holder reason switch_to switch_reason
--   probe holder lease_ms      release holder      try_now
-- {state, changed or '', granted, wait_ms, tries, failures, opened_at, reason, switch}
local BUCKETS = 10
local key, verb = KEYS[1], ARGV[8]
local now, h = math.floor(now_us() / 1000), {}
local flat = redis.call('HGETALL', key)
for i = 1, #flat, 2 do h[flat[i]] = flat[i + 1] end

-- The window: counts of good and bad calls in buckets `g<number>` and `b<number>`.
local current = math.floor(now * BUCKETS / tonumber(ARGV[1]))
local counted, old, tries, failures = {}, {}, 0, 0
for name, value in pairs(h) do
  local kind, number = string.match(name, '^([gb])(%d+)$')
  if kind then
    if tonumber(number) <= current - BUCKETS then
      old[#old + 1] = name
    else
      counted[#counted + 1], tries = name, tries + tonumber(value)
      if kind == 'b' then failures = failures + tonumber(value) end
    end
  end
end

local changed, granted = '', 0
local state = 'closed'
if h.un then state = now < tonumber(h.un) and 'open' or 'half_open' end

local function set(name, value)
  h[name] = tostring(value)
  redis.call('HSET', key, name, h[name])
end

local function clear(...)
  redis.call('HDEL', key, ...)
  for _, name in ipairs({...}) do h[name] = nil end
end

local function open(ms, reason)
  set('ms', int(ms))
  set('un', int(now + ms))
  if state == 'closed' then set('op', int(now)) end
  set('rs', reason)
  clear('pr', 'pu', 'ok', 'rn')
  state, changed = 'open', 'opened'
end

local function close()
  clear('un', 'ms', 'op', 'rs', 'pr', 'pu', 'ok', 'rn')
  if #counted > 0 then redis.call('HDEL', key, unpack(counted)) end
  state, changed, tries, failures = 'closed', 'closed', 0, 0
end

local function add(kind, number)
  if number == 0 then return end
  redis.call('HINCRBY', key, kind .. int(current), int(number))
  counted[#counted + 1], tries = kind .. int(current), tries + number
  if kind == 'b' then failures = failures + number end
end

local function tell(good, bad, account, outage, holder, reason)
  add('g', good)
  add('b', bad)
  local run = (good > 0 and 0 or tonumber(h.rn or '0')) + account
  if run > 0 then set('rn', int(run)) elseif h.rn then clear('rn') end
  if state == 'closed' then
    local is_failing = tries >= tonumber(ARGV[2]) and failures * 2 > tries
    if outage > 0 or run >= tonumber(ARGV[3]) or (bad > 0 and is_failing) then
      open(tonumber(ARGV[4]), reason)
    end
  elseif state == 'half_open' and holder ~= '' and h.pr == holder then
    clear('pr', 'pu')
    if bad > 0 then return open(math.min(tonumber(h.ms) * 2, tonumber(ARGV[5])), reason) end
    set('ok', tonumber(h.ok or '0') + 1)
    if tonumber(h.ok) >= tonumber(ARGV[6]) then close() end
  end
end

if verb == 'tell' then
  if #old > 0 then redis.call('HDEL', key, unpack(old)) end
  tell(tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12]),
       ARGV[13], ARGV[14])
  if ARGV[15] ~= '' then set('sw', cjson.encode({int(now), ARGV[15], ARGV[16]})) end
elseif verb == 'probe' and state == 'half_open' then
  if not h.pr or h.pr == ARGV[9] or now >= tonumber(h.pu) then
    set('pr', ARGV[9])
    set('pu', int(now + tonumber(ARGV[10])))
    granted = 1
  end
elseif verb == 'release' and h.pr == ARGV[9] then
  clear('pr', 'pu')
elseif verb == 'try_now' and state == 'open' then
  set('un', int(now))
  set('ms', ARGV[4])
  state = 'half_open'
end
if verb ~= 'look' and redis.call('EXISTS', key) == 1 then
  redis.call('PEXPIRE', key, ARGV[7])
end

local wait = 0
if state == 'open' then
  wait = tonumber(h.un) - now
elseif state == 'half_open' and h.pr and granted == 0 then
  wait = math.max(0, tonumber(h.pu) - now)
end
return {state, changed, granted, int(wait), int(tries), int(failures),
        h.op or '', h.rs or '', h.sw or ''}
