# Completion of varve's command lines for bash. The words come from the tool's own help, so that
# they are those of the version installed.

# _varve_options VERB [ACTION]: the options its help tells about.
_varve_options() {
  varve "$@" --help 2>/dev/null | sed -nE 's/^  (-[^ ].*)$/\1/p' |
    grep -oE -- '(^|[ ,])--?[A-Za-z][A-Za-z-]*' | tr -d ' ,'
}

_varve_verbs() {
  varve --help 2>/dev/null | sed -nE 's/^  ([a-z]+) - .*/\1/p'
}

_varve_actions() {
  varve snapshot --help 2>/dev/null |
    sed -nE 's/^  [^ ]+ snapshot ([a-z][a-z|-]*) .*/\1/p' | tr '|' '\n'
}

_varve_commands() {
  varve ctl --help 2>/dev/null | sed -nE 's/^  command .* REQUIRED +(.*) or ([a-z]+)$/\1 \2/p' |
    tr -d ,
}

# _varve_values VERB OPTION: the words an option takes; nothing where it is a file or free text.
_varve_values() {
  case $1:$2 in
    snapshot:-[acd] | snapshot:--name | create:-[oF] | bench:-[cdosS]) ;;
    *:-f | *:-F | *:-O | *:--*format) echo "raw qcow2" ;;
    *:-t | *:-T | *:--*cache) echo "none writeback writethrough directsync unsafe" ;;
    *:--output) [ "$1" = snapshot ] || echo "human json" ;;
    *:--preallocation) echo "off metadata falloc full" ;;
    *:--order) echo "random step" ;;
    *:--aio | bench:-i | io:-i) echo "io_uring threads" ;;
  esac
}

_varve() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  local verb=${COMP_WORDS[1]} action='' words
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="$(_varve_verbs) --help --version"
  else
    words=$(_varve_values "$verb" "$previous")
    if [ "$verb" = snapshot ] && [ "$COMP_CWORD" -gt 2 ]; then
      action=${COMP_WORDS[2]}
    fi
    if [ -z "$words" ] && [ "${current:0:1}" = - ]; then
      case $action in
        -* | '') words=$(_varve_options "$verb") ;;
        *) words=$(_varve_options "$verb" "$action") ;;
      esac
      words+=" --help"
    elif [ -z "$words" ] && [ "$verb" = snapshot ] && [ "$COMP_CWORD" -eq 2 ]; then
      words=$(_varve_actions)
    elif [ -z "$words" ] && [ "$verb" = ctl ] && [ "$COMP_CWORD" -eq 3 ]; then
      words=$(_varve_commands)
    fi
  fi
  # Without words the shell goes on with file names.
  if [ -n "$words" ]; then
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
  fi
}

complete -o default -F _varve varve
