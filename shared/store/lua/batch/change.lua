-- allow-oom: an operator must be able to stop a batch on a full server.
-- Start, pause, resume or cancel a batch.
-- KEYS batch active   ARGV id verb life_ms then field, value … when it starts
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
  redis.call('HSET', KEYS[1], 's', int(math.floor(now_us() / 1000)), 'lf', ARGV[3], unpack(ARGV, 4))
end
if verb == 'start' or verb == 'resume' then
  keep_for(KEYS[1], tonumber(ARGV[3]))
  redis.call('SADD', KEYS[2], ARGV[1])
end
return {'changed', st}
