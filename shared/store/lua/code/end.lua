-- allow-oom: an operator must be able to end a code on a full server; takes 100 bytes.
-- End a code before its time. A reset that is still queued is cancelled; a message under way goes
-- out, and its code opens nothing.
-- KEYS r u due:urgent due:bulk m   ARGV id end detail keep_ms
-- 'ended' | 'absent' | 'notice' | 'expired' | 'held': it is being used right now | its former end |
-- the status: it has no code that works
local id, word = ARGV[1], ARGV[2]
local h = redis.call('HMGET', KEYS[1], 'st', 'v', 'x', 'k', 'q', 'ch', 'db', 'f', 'gb')
local now = math.floor(now_us() / 1000)
if not h[1] then return 'absent' end
if h[4] == 'notice' then return 'notice' end
if h[2] then return h[2] end
if tonumber(h[3]) <= now then return 'expired' end
if h[9] then return h[1] end
local held = redis.call('HGET', KEYS[2], 'hx')
if ARGV[3] ~= '' and held and tonumber(held) > now then return 'held' end
redis.call('HSET', KEYS[1], 'v', word)
if ARGV[3] ~= '' then add_event(KEYS[1], now, 'voided', '', ARGV[3]) end
if (h[1] == 'queued' or h[1] == 'retrying') and h[7] == '0' then
  redis.call('HSET', KEYS[1], 'f', int(tonumber(h[8]) + 1))
  settle(KEYS[1], h[5] == 'bulk' and KEYS[4] or KEYS[3], KEYS[5], id, h[1], 'cancelled', h[6],
         'code_' .. word, now, tonumber(ARGV[4]))
end
return 'ended'
