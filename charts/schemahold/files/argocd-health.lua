-- Health of a SchemaMigration for Argo CD, from its conditions.
local hs = {status = "Progressing", message = "Waiting for the schemahold operator"}
local status = obj.status
if status == nil or status.conditions == nil then
  return hs
end
-- Conditions about an older spec say nothing about this one.
if status.observedGeneration ~= obj.metadata.generation then
  hs.message = "The operator has not seen this generation yet"
  return hs
end
local found = {}
for _, condition in ipairs(status.conditions) do
  found[condition.type] = condition
end
local function is_true(name)
  return found[name] ~= nil and found[name].status == "True"
end
local function say(condition)
  if condition ~= nil then
    hs.message = (condition.reason or "") .. ": " .. (condition.message or "")
  end
end
if is_true("Stalled") then
  hs.status = "Degraded"
  say(found.Stalled)
elseif is_true("Ready") or is_true("Released") then
  -- Released without Ready: nothing is held yet, because the Deployment comes in a later wave.
  hs.status = "Healthy"
  say(found.Ready)
else
  say(found.Reconciling or found.Ready)
end
return hs
