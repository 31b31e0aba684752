# bash completion for llmrun: words come from the program's own --help.
_llmrun() {
    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command=
    case ${COMP_WORDS[1]} in
    run|plan|info|tokenize|bench|compare|quantize|devices) command=${COMP_WORDS[1]} ;;
    esac
    case $previous in
    --quant|--modes|--reference) COMPREPLY=($(compgen -W "auto f16 8bit 4bit mixed f32 bf16 q8_0 Q6_K q4_k q4_0 iq4_nl nf4" -- "$word")) ;;
    --kv) COMPREPLY=($(compgen -W "auto f32 f16 q8_0 q4_rot" -- "$word")) ;;
    --device) COMPREPLY=($(compgen -W "auto cpu cuda sim" -- "$word")) ;;
    --prefer) COMPREPLY=($(compgen -W "auto speed quality" -- "$word")) ;;
    --cpu-isa) COMPREPLY=($(compgen -W "auto c avx2 avx512" -- "$word")) ;;
    -m|--model|-o|--out|-f|--file|--logits|--plan|--chat-template|--text|--html|--calibrate) COMPREPLY=($(compgen -f -- "$word")) ;;
    *)
        local words=$("${COMP_WORDS[0]}" help ${command:-run} 2>/dev/null | grep -oE -- '--[a-z][a-z-]*')
        [ "$COMP_CWORD" -eq 1 ] && words="run plan info tokenize bench compare quantize devices help $words"
        COMPREPLY=($(compgen -W "$words" -- "$word"))
        ;;
    esac
}
complete -o filenames -F _llmrun llmrun
