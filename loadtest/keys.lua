-- The same with a field X-Key that changes from request to request: as many values by turns as the first argument says,
-- or another one each time where it is 0. No two runs of a day share a value then.
dofile(debug.getinfo(1, "S").source:match("^@(.*/)") .. "wrk.lua")

local with_fields = init
local keys, turn = 0, 0

function init(args)
   keys = tonumber(args[1])
   if keys == 0 then
      -- A number of Lua is exact below 2^53.
      turn = os.time() % 1e5 * 1e9
   end
   local rest = { [0] = args[0] }
   for i = 2, #args do
      rest[i - 1] = args[i]
   end
   with_fields(rest)
end

function request()
   turn = turn + 1
   wrk.headers["X-Key"] = string.format("%d", keys > 0 and turn % keys or turn)
   return wrk.format()
end
