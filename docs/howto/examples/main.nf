// Localize each dataset of an archive, one task per dataset:
//
//     nextflow run main.nf --archive '/data/archive/*/*.zarr' --model lls-paint --out results
//
// The run folder lies outside the work folder of the task, so that a repeated task resumes its run.

params.archive = 'archive/*/*.zarr'
params.model = 'lls-paint'
params.out = 'results'

process localize {
    tag "${name}"
    cpus 2
    errorStrategy 'retry'
    maxRetries 2

    input:
    tuple val(name), path(dataset)
    val out

    output:
    tuple val(name), path('localizations.parquet')

    script:
    """
    lls-decode run '${dataset}' --model '${params.model}' --out '${out}/${name}' --workers ${task.cpus}
    ln -s '${out}/${name}/localizations.parquet' localizations.parquet
    """
}

workflow {
    out = file(params.out).toAbsolutePath().toString()
    datasets = channel
        .fromPath(params.archive, type: 'dir')
        .map { store -> tuple("${store.parent.name}/${store.baseName}", store) }
    localize(datasets, out)
    localize.out.view { name, table -> "${name}: ${table}" }
}
