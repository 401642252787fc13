# Makes the work pool and the deployments of this folder known to the server of PREFECT_API_URL; again changes nothing.
prefect work-pool inspect kmstream > /dev/null || prefect work-pool create kmstream --type process
prefect --no-prompt deploy --all

# `prefect automation create` makes a second one of the same name.
sed -n 's/^  - name: //p' automations.yaml | while read -r name; do
  if prefect automation inspect "$name" > /dev/null; then
    prefect --no-prompt automation delete "$name"
  fi
done
prefect automation create --from-file automations.yaml
