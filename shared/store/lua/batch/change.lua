-- allow-oom: an operator must be able to stop a batch on a full server.
-- Start, pause, resume or cancel a batch, each with a line in the audit trail.
-- KEYS batch active audit   ARGV id verb by reason life_ms max_acts then field, value … when it starts
-- {'changed'|'same'|'refused'|'absent', the state before}
local FROM = {
  start = {planned = 'running'},
  pause = {running = 'paused'},
  resume = {paused = 'running'},
  cancel = {planning = 'cancelled', planned = 'cancelled', running = 'cancelled', paused = 'cancelled'},
}
local SAME = {
  start = {running = true, paused = true, finished = true},
  pause = {paused = true}, resume = {running = true}, cancel = {cancelled = true},
}
local verb = ARGV[2]
local st = redis.call('HGET', KEYS[1], 'st')
if not st then return {'absent', ''} end
if SAME[verb][st] then return {'same', st} end
local to = FROM[verb][st]
if not to then return {'refused', st} end
redis.call('HSET', KEYS[1], 'st', to, 'ca', int(math.floor(now_us() / 1000)))
if verb == 'start' then
  redis.call('HSET', KEYS[1], 's', int(math.floor(now_us() / 1000)), 'lf', ARGV[5], unpack(ARGV, 7))
end
if verb == 'start' or verb == 'resume' then
  keep_for(KEYS[1], tonumber(ARGV[5]))
  redis.call('SADD', KEYS[2], ARGV[1])
end
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[6], '*', 'by', ARGV[3], 'action', 'batch.' .. verb,
           'target', ARGV[1], 'reason', ARGV[4])
return {'changed', st}
