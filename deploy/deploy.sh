#!/usr/bin/env bash
# Builds and deploys users, threads and posts onto the cluster of a stack.
# Run it again after a change: it builds a new image and updates the services.
set -euo pipefail
shopt -s inherit_errexit

services=(users threads posts)
port=3000
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() {
  cat <<'TEXT'
usage: deploy/deploy.sh [--cut] [--aws [--yes]] [--binaries DIR] <region> <stack name>

Deploys the message board's services users, threads and posts onto the ECS cluster that the stack
from deploy/cloudformation/ecs.yml made: a repository, an image tagged with the time, a task
definition, a target group, a listener rule /api/<service>* and a service for each. What is there
already is used; a service that is there is updated.

By default it talks to Quarry on this machine:  eval "$(quarry env)"
  --cut            the monolith api with all the data behind /api*, and the three services empty and
                   fenced, for `quarry cut run posts --from api --path '/api/posts*'` and the like.
                   Run again without --cut when the cuts are finished. Only Quarry cuts.
  --aws            talk to AWS; shows account and region and asks first
  --yes            with --aws: do not ask
  --binaries DIR   take board-users, board-threads and board-posts (static) from DIR instead of
                   compiling them

BOARD_DATABASE_URL  postgres://… for all services instead of a SQLite file each
TEXT
}

fail() {
  printf 'deploy.sh: %s\n' "$*" >&2
  exit 1
}

say() { printf '%s\n' "$*" >&2; }

# --- what is asked for ------------------------------------------------------------------------

to_aws=no ask=yes cut=no binaries='' words=()
while [ $# -gt 0 ]; do
  case $1 in
    --cut) cut=yes ;;
    --aws) to_aws=yes ;;
    --yes) ask=no ;;
    --binaries)
      [ $# -ge 2 ] || fail '--binaries needs a directory'
      binaries=$2
      shift
      ;;
    -h | --help)
      usage
      exit 0
      ;;
    -*)
      usage >&2
      fail "unknown option $1"
      ;;
    *) words+=("$1") ;;
  esac
  shift
done
if [ ${#words[@]} -ne 2 ]; then
  usage >&2
  exit 2
fi
region=${words[0]} stack=${words[1]}
[[ $region =~ ^[a-z]+(-[a-z]+)+-[0-9]+$ ]] || fail "$region is not the name of a region, such as us-east-1"
[[ $stack =~ ^[a-zA-Z][-a-zA-Z0-9]{0,127}$ ]] || fail "$stack is not the name of a stack: letters, digits and hyphens"

[ "$cut$to_aws" != yesyes ] || fail '--cut is for Quarry: on AWS nobody carries a cut out'
# The monolith comes last: its rule takes what no rule before it takes.
if [ $cut = yes ]; then services+=(api); fi

# --- where it goes ----------------------------------------------------------------------------

command -v aws >/dev/null || fail 'the aws CLI is missing: https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html'

aws=(aws --region "$region" --output text)
loopback='^https?://(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?/?$'
if [ $to_aws = yes ]; then
  [ -z "${AWS_ENDPOINT_URL:-}" ] ||
    fail "AWS_ENDPOINT_URL is set to $AWS_ENDPOINT_URL: unset it, and the keys that belong to it, to deploy to AWS"
  # A profile may name another endpoint; --aws means AWS.
  export AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true
else
  [[ ${AWS_ENDPOINT_URL:-} =~ $loopback ]] ||
    fail "AWS_ENDPOINT_URL names no Quarry on this machine. Run  eval \"\$(quarry env)\"  first (or --aws to deploy to AWS)"
  # Named on every call: no variable and no profile can send one of them elsewhere.
  aws+=(--endpoint-url "${AWS_ENDPOINT_URL%/}")
fi
export AWS_PAGER=''

# Docker, or Podman where there is no Docker that answers.
if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
  docker=docker
elif command -v podman >/dev/null; then
  docker=podman
elif command -v docker >/dev/null; then
  fail 'docker is installed, but its daemon does not answer: start it, or ask for access to it'
else
  fail 'building and pushing images needs docker (or podman), and neither is installed'
fi
registry_options=()
# Docker takes a registry on localhost without TLS; Podman wants to be told.
if [ $docker = podman ] && [ $to_aws = no ]; then registry_options=(--tls-verify=false); fi
# One image per push, without an index of attestations around it.
export BUILDX_NO_DEFAULT_ATTESTATIONS=1

if [ -n "$binaries" ]; then
  for service in "${services[@]}"; do
    [ -x "$binaries/board-$service" ] || fail "$binaries/board-$service is missing"
  done
else
  command -v cargo >/dev/null || fail 'compiling the services needs cargo: https://rustup.rs (or --binaries DIR)'
fi
if [ $to_aws = yes ] && [ "$(uname -m)" != x86_64 ] && [ -z "$binaries" ]; then
  fail "the stack's instances are x86_64 and this machine is $(uname -m): give x86_64 binaries with --binaries DIR"
fi

if [ $to_aws = yes ]; then
  account=$("${aws[@]}" sts get-caller-identity --query Account)
  say "AWS account $account, region $region, stack $stack: this makes resources that cost money."
  [ -n "${BOARD_DATABASE_URL:-}" ] ||
    say 'BOARD_DATABASE_URL is not set: each container instance would keep a SQLite file of its own, and a task that moves to another one would not find its data.'
  if [ $ask = yes ]; then
    [ -t 0 ] || fail 'nobody to ask: give --yes if that is what you want'
    read -r -p 'Deploy there? [y/N] ' answer
    [[ $answer =~ ^[yY]([eE][sS])?$ ]] || fail 'nothing was changed'
  fi
fi

# --- the stack --------------------------------------------------------------------------------

output() {
  local value
  value=$("${aws[@]}" cloudformation describe-stacks --stack-name "$stack" \
    --query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue | [0]") || fail "the outputs of stack $stack cannot be read"
  case $value in
    '' | None) fail "stack $stack has no output $1: deploy it from deploy/cloudformation/ecs.yml" ;;
  esac
  printf '%s' "$value"
}

cluster=$(output ClusterName)
balancer=$(output ALBArn)
role=$(output ECSRole)
vpc=$(output VPCId)
url=$(output Url)
say "stack $stack: cluster $cluster, $url"

# Without a listener nobody reaches a service. Paths that no rule names are answered 404.
listener=$("${aws[@]}" elbv2 describe-listeners --load-balancer-arn "$balancer" \
  --query "Listeners[?to_string(Port)=='80'].ListenerArn | [0]")
if [ "$listener" = None ]; then
  say 'listener HTTP 80'
  listener=$("${aws[@]}" elbv2 create-listener --load-balancer-arn "$balancer" --protocol HTTP --port 80 \
    --default-actions 'Type=fixed-response,FixedResponseConfig={StatusCode=404,ContentType=text/plain,MessageBody=No service has this path.}' \
    --query 'Listeners[0].ListenerArn')
fi

# Where the services reach each other: through the load balancer, by its name. Tasks that run as
# plain processes share this machine's names and ports instead.
peers=$url
if [ $to_aws = no ]; then
  instance=$("${aws[@]}" ecs list-container-instances --cluster "$cluster" --no-paginate --max-results 1 \
    --query 'containerInstanceArns[0]')
  [ "$instance" != None ] || fail "cluster $cluster has no container instance yet"
  isolation=$("${aws[@]}" ecs describe-container-instances --cluster "$cluster" --container-instances "$instance" \
    --query "containerInstances[0].attributes[?name=='quarry.isolation'].value | [0]")
  if [ "$isolation" = none ]; then
    bound=$(curl -fsS "${AWS_ENDPOINT_URL%/}/_quarry/v1/listeners" | tr '{' '\n' | grep -F "\"$listener\"" |
      sed -n 's/.*"bound":\["\([^"]*\)".*/\1/p')
    [ -n "$bound" ] || fail 'the load balancer listens nowhere yet; quarry ls says why'
    peers=http://$bound
  fi
fi

# --- images -----------------------------------------------------------------------------------

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$root/apps/board/data/db.json" "$work/"
if [ -z "$binaries" ]; then
  target=${CARGO_TARGET_DIR:-$root/target}
  for service in "${services[@]}"; do
    say "compile board-$service"
    (cd "$root" && cargo rustc --quiet --release --target-dir "$target" --package board --bin "board-$service" -- \
      -C target-feature=+crt-static)
  done
  binaries=$target/release
fi
for service in "${services[@]}"; do cp "$binaries/board-$service" "$work/"; done

# Prints the repository's URI; makes the repository if it is not there.
repository() {
  "${aws[@]}" ecr describe-repositories --repository-names "$1" --query 'repositories[0].repositoryUri' 2>"$work/error" && return
  grep -q RepositoryNotFoundException "$work/error" || fail "$(<"$work/error")"
  "${aws[@]}" ecr create-repository --repository-name "$1" --query 'repository.repositoryUri'
}

tag=$(date -u +%Y%m%d%H%M%S)
declare -A images
logged_in=''
for service in "${services[@]}"; do
  uri=$(repository "$service")
  registry=${uri%%/*}
  if [ "$registry" != "$logged_in" ]; then
    "${aws[@]}" ecr get-login-password |
      "$docker" login "${registry_options[@]}" --username AWS --password-stdin "$registry" >/dev/null
    logged_in=$registry
  fi
  images[$service]=$uri:$tag
  say "build and push $uri:$tag"
  "$docker" build --quiet --file "$root/apps/board/Dockerfile" --build-arg "SERVICE=$service" --tag "$uri:$tag" "$work" >/dev/null
  "$docker" push "${registry_options[@]}" --quiet "$uri:$tag" >/dev/null
done

# --- services ---------------------------------------------------------------------------------

# A JSON string.
quoted() {
  local text=${1//\\/\\\\}
  printf '"%s"' "${text//\"/\\\"}"
}

# The environment of a service, as JSON: where the others are, and the database.
environment() {
  local entries=() name i
  for name in "${services[@]}"; do
    [ "$name" = "$1" ] || [ "$name" = api ] || entries+=("{\"name\": \"${name^^}_URL\", \"value\": $(quoted "$peers")}")
  done
  if [ -n "${BOARD_DATABASE_URL:-}" ]; then
    entries+=("{\"name\": \"DATABASE_URL\", \"value\": $(quoted "$BOARD_DATABASE_URL")}")
  else
    # Said, although it is the program's default: where tasks run as plain processes, the volume's
    # path is put in the place of /data in what the task definition says.
    entries+=("{\"name\": \"DATABASE_PATH\", \"value\": \"/data/$1.db\"}")
  fi
  if [ $cut = yes ]; then
    # A port inside the task, on which only Quarry is answered. Tasks that run as plain processes share the machine's
    # ports, so each service has its own.
    for i in "${!services[@]}"; do
      [ "${services[i]}" != "$1" ] || entries+=("{\"name\": \"CUT_ADMIN_PORT\", \"value\": \"$((9100 + i))\"}")
    done
    # What comes by a cut begins without rows, and is written nowhere but at the monolith until then.
    [ "$1" = api ] || entries+=("{\"name\": \"CUT_DESTINATION\", \"value\": \"$1\"}" '{"name": "IMPORT", "value": ""}')
  fi
  local IFS=,
  printf '[%s]' "${entries[*]}"
}

# Prints the task definition of a service, as JSON.
task_definition() {
  cat <<JSON
{
  "family": "$1",
  "networkMode": "bridge",
  "containerDefinitions": [{
    "name": "$1",
    "image": $(quoted "${images[$1]}"),
    "cpu": 256,
    "memory": 256,
    "essential": true,
    "portMappings": [{"hostPort": 0, "containerPort": $port, "protocol": "tcp"}],
    "environment": $(environment "$1"),
    "mountPoints": [{"sourceVolume": "$1-data", "containerPath": "/data"}],
    "logConfiguration": {"logDriver": "awslogs", "options": {
      "awslogs-group": "ECSLogGroup-$stack",
      "awslogs-region": "$region",
      "awslogs-stream-prefix": "board"
    }}
  }],
  "volumes": [{"name": "$1-data", "dockerVolumeConfiguration": {"scope": "shared", "autoprovision": true}}]
}
JSON
}

# Prints the ARN of a service's target group; makes the group if it is not there.
target_group() {
  "${aws[@]}" elbv2 describe-target-groups --names "$1" --query 'TargetGroups[0].TargetGroupArn' 2>"$work/error" && return
  grep -q TargetGroupNotFound "$work/error" || fail "$(<"$work/error")"
  "${aws[@]}" elbv2 create-target-group --name "$1" --protocol HTTP --port 80 --vpc-id "$vpc" \
    --healthy-threshold-count 2 --unhealthy-threshold-count 2 \
    --health-check-timeout-seconds 5 --health-check-interval-seconds 6 \
    --query 'TargetGroups[0].TargetGroupArn'
}

# Makes the rule /api/<service>* (of the monolith: /api*) after all others, unless it is there. Before a cut all of it goes to
# the monolith, and the service's group is part of the rule.
rule() {
  local group=$2 path="/api/$1*" there last
  local action="Type=forward,TargetGroupArn=$group"
  if [ "$1" = api ]; then
    path='/api*'
  elif [ $cut = yes ]; then
    action="Type=forward,ForwardConfig={TargetGroups=[{TargetGroupArn=$(target_group api),Weight=1},{TargetGroupArn=$group,Weight=0}]}"
  fi
  there=$("${aws[@]}" elbv2 describe-rules --listener-arn "$listener" \
    --query "Rules[?Conditions[?Field=='path-pattern' && contains(Values, '$path')]].RuleArn | [0]")
  [ "$there" = None ] || return 0
  last=$("${aws[@]}" elbv2 describe-rules --listener-arn "$listener" --query 'Rules[].[Priority]' |
    grep -E '^[0-9]+$' | sort -n | tail -n 1 || true)
  "${aws[@]}" elbv2 create-rule --listener-arn "$listener" --priority $((${last:-0} + 1)) \
    --conditions "Field=path-pattern,Values=$path" --actions "$action" >/dev/null
}

for service in "${services[@]}"; do
  task_definition "$service" >"$work/$service.json"
  revision=$("${aws[@]}" ecs register-task-definition --cli-input-json "file://$work/$service.json" \
    --query 'taskDefinition.taskDefinitionArn')
  status=$("${aws[@]}" ecs describe-services --cluster "$cluster" --services "$service" --query 'services[0].status')
  if [ "$status" = ACTIVE ]; then
    say "update service $service → ${revision##*/}"
    "${aws[@]}" ecs update-service --cluster "$cluster" --service "$service" --task-definition "$revision" >/dev/null
  else
    say "create service $service (${revision##*/})"
    group=$(target_group "$service")
    rule "$service" "$group"
    "${aws[@]}" ecs create-service --cluster "$cluster" --service-name "$service" --task-definition "$revision" \
      --desired-count 1 --launch-type EC2 --role "$role" \
      --load-balancers "targetGroupArn=$group,containerName=$service,containerPort=$port" >/dev/null
  fi
done

say 'wait until the services are stable'
"${aws[@]}" ecs wait services-stable --cluster "$cluster" --services "${services[@]}"
for service in "${services[@]}"; do
  [ "$service" = api ] || printf '%s/api/%s\n' "$url" "$service"
done
if [ $cut = yes ]; then
  for service in "${services[@]}"; do
    [ "$service" = api ] || say "quarry cut run $service --from api --path '/api/$service*'"
  done
fi
[ $to_aws = yes ] || say 'quarry ls prints every address that works on this machine'
